"""HTTP: one file per resource, each turning a request into a use case of `jobs` and back."""

"""The same verbs over HTTP: a typed client of the service."""

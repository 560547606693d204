"""What crosses the wire between a client and the service: one module per resource."""

"""What goes over the wire: pydantic models of requests and answers, and nothing of how."""

"""OCPP-J for OCPP 2.0.1 without I/O: frames, RPC, typed messages, redaction (Part 4)."""

"""What people and schedules ask: one module per use case, talking to ports only."""

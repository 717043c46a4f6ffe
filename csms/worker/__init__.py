"""The worker role: runs the jobs that blocks and operations have stored."""

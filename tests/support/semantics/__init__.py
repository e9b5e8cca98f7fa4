"""What a task may rely on, as one set of scenarios for the test kit and for the real system."""

"""What happened, from the events: never from workers' clocks."""

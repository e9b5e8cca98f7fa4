"""What downstream services and operators use: results, as a stream."""

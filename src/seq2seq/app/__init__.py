"""What a person meets: configuration, the command line and text models."""

"""What is measured on a trained system, one file per protocol."""

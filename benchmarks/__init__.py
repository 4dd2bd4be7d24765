"""What the jobs reach on this machine, side by side with what a user would pick instead."""

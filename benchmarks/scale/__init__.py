"""What many pictures take on many hosts: measured costs of one picture, a simulation, and its check on this machine."""

"""The floor below a latency: the arithmetic and the traffic of a network, at the rates that this machine reaches."""

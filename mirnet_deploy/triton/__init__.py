"""Model repositories of Triton Inference Server: their configurations, their files, and the model of whole pictures."""

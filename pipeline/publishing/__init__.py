"""What `pipeline.publish` is made of: runs that can be taken up again, their steps, the gate, and what is kept."""

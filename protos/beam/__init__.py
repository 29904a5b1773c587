"""What the commands that run on Apache Beam share; nothing else of protos needs Beam."""

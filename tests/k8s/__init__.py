"""What k8s/ says, held together without a cluster."""

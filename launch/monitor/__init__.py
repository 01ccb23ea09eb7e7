"""What is seen of a running study: progress, prices, TensorBoard, Weights & Biases."""

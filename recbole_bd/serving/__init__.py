"""After distillation: what a trained model recommends, the forms it is delivered in, and what it costs to serve."""

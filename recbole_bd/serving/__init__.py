"""Use of a trained model: recommendations, export formats, and the latency and size of serving."""

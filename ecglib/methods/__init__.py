"""Methods: one file each, joining backbones and losses as the paper's figure does.

The protocol that `ecglib.training` drives: `training_step(batch) -> {"loss", ...}` of scalar tensors,
`predict(signal) -> logits (B, C)`, `inference_module()`, the module whose weights are the product, and `frozen`, the
prefixes of the state that is not trained.
"""

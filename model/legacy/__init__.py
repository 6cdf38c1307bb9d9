"""Reads the checkpoints that AG3D's authors released, without executing anything in them."""

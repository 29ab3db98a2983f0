"""Peers without a teacher."""

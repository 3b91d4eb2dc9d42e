"""Devices and compilation."""

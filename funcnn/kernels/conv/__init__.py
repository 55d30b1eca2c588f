"""Convolution: one file for each method, and `dispatch`, which chooses among them and computes by the chosen one."""

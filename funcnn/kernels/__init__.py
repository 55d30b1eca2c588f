"""Array routines that the ops are made of: window geometry, convolution, pooling, sums over channels, erf.

They know no parameters and build no VJPs. A routine and its adjoint are neighbours; `funcnn.ops` combines them to
functions with a VJP.
"""

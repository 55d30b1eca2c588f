"""Array routines below the mathematics: argument checks, window geometry, convolution and pooling sums.

Nothing here knows about derivatives or parameters. A routine and its adjoint stand side by side; `funcnn.ops` puts them
together into functions with a VJP.
"""

"""The site: what Sphinx needs beside the pages in scripts/site and the docstrings."""

"""Base configurations of protocols: plain dicts in OpenMMLab's format."""

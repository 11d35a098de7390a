"""peftbench: which fine-tuning method, at which cost?"""

__version__ = "0.1.0"

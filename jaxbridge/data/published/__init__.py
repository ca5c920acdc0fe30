"""The data sets of BioX-Bridge, and of AI4PAIN, in the layout in which they are published."""

"""Records of builds: the files that the server writes while a build runs, their figures and their forms.

docs/reference/records.md describes the files. Pure, but for reading them.
"""

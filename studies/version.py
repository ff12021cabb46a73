"""The version of this project, for packages that may not import `nas`."""

VERSION = "0.8.1"

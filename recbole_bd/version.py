"""The version of this package, in one place that the build reads without importing RecBole."""

VERSION = "0.1.0"

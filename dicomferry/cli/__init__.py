"""The commands of `dicomferry`, by what they are about."""

"""Models in other frameworks. Each module imports its framework when it is used, never `import tabagent`."""

"""The pages' templates. Each is escaped by Jinja2; none has a script or a style of its own."""

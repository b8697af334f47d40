"""What browsers load beside the pages: one style sheet, a few small modules, an icon. Nothing is built."""

"""Packs in Ray: actors that each train several trials on one base, the clients that Ray Tune sees, the desk between."""

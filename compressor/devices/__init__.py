"""Where artifacts run: device profiles, this machine, and measurements by a stand-alone probe in a fresh process."""

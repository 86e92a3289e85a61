"""Search for settings, by validation alone: spaces, trials in processes of their own, and studies that go on."""

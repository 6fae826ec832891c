"""What tests share: tiny backbones, small data, oracles, and servers in this process."""

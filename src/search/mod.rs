//! MoXI: the group of players that decides together.

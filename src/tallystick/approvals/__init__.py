"""What people are asked before an action is carried out, and their votes."""

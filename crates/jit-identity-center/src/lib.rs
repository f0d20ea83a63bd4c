//! Gives access by account assignments of AWS IAM Identity Center.

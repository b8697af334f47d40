"""What is known of the dependencies: their licences, their vulnerabilities, and a list of all of them."""

"""`python -m mirnet_deploy` is `mirnet-deploy`."""

from mirnet_deploy.cli import main

if __name__ == "__main__":
    main()

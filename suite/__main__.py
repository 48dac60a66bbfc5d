from suite.base import interpreter

if __name__ == "__main__":
    interpreter.settle()
    # not before: the working folder may hold a package of one of our names
    from suite.cli import main

    main()

#!/usr/bin/python3
"""Mends a workbook in LibreOffice as an operator would: opens it, types over the cells that a table names, saves it under other names.

mend.py BOOK TABLE OUT...    TABLE: CSV with ; of row number, title of the column, new value; OUT: .xlsx or .csv (UTF-8, ;)
Needs LibreOffice Calc and its Python (Debian: libreoffice-calc python3-uno).
"""
import csv, pathlib, subprocess, sys, tempfile, time

import uno
from com.sun.star.beans import PropertyValue
from com.sun.star.connection import NoConnectException

FILTERS = {".xlsx": ("Calc MS Excel 2007 XML", ""), ".csv": ("Text - txt - csv (StarCalc)", "59,34,76,1,,0,false,true")}


def property(name, value):
    p = PropertyValue()
    p.Name, p.Value = name, value
    return p


def connect(pipe):
    local = uno.getComponentContext()
    resolver = local.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
    for _ in range(120):
        try:
            return resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
        except NoConnectException:
            time.sleep(0.5)
    sys.exit("mend.py: LibreOffice does not start")


def mend(sheet, table):
    titles = {}
    for column in range(256):
        titles.setdefault(sheet.getCellByPosition(column, 0).String, column)
    for row, title, value in list(csv.reader(table, delimiter=";"))[1:]:
        # FormulaLocal is the line in which one types: what looks like a date becomes one unless the cell is text.
        sheet.getCellByPosition(titles[title], int(row) - 1).FormulaLocal = value


def main(book, table, *outs):
    pipe = f"mend{time.time_ns()}"
    with tempfile.TemporaryDirectory() as profile:
        office = subprocess.Popen(["soffice", "--headless", "--norestore", f"-env:UserInstallation=file://{profile}", f"--accept=pipe,name={pipe};urp;"])
        try:
            context = connect(pipe)
            desktop = context.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", context)
            document = desktop.loadComponentFromURL(pathlib.Path(book).resolve().as_uri(), "_blank", 0, (property("Hidden", True),))
            with open(table, encoding="utf-8", newline="") as f:
                mend(document.Sheets.getByIndex(0), f)
            for out in map(pathlib.Path, outs):
                name, options = FILTERS[out.suffix]
                document.storeToURL(out.resolve().as_uri(), (property("FilterName", name), property("FilterOptions", options)))
            document.close(True)
            try:
                desktop.terminate()
            except Exception:
                pass  # it goes before it has answered
        finally:
            office.wait(timeout=30)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

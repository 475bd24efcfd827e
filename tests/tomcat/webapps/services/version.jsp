<%@ page session="false" contentType="text/plain" %>WSO2 Carbon (a test node)

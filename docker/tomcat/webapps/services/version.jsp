<%@ page session="false" contentType="text/xml" trimDirectiveWhitespaces="true"
%><ns:getVersionResponse xmlns:ns="http://version.services.core.carbon.wso2.org"><return>Tomcat in place of a Carbon server</return></ns:getVersionResponse>

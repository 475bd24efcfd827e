<%@ page session="false" trimDirectiveWhitespaces="true" %>
<%-- Redirects as a node does that does not know of a balancer: to its own address. --%>
<%
    response.setStatus(302);
    response.setHeader("Location", request.getScheme() + "://" + request.getLocalAddr() + ":" + request.getLocalPort()
        + "/carbon/admin/index.jsp?from=" + System.getProperty("elb.node"));
%>

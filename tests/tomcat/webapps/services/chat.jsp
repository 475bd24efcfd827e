<%@ page session="false" trimDirectiveWhitespaces="true"
         import="jakarta.websocket.*, jakarta.websocket.server.*, java.io.*, java.util.*" %>
<%-- A WebSocket that answers every text with the node's id before it. Upgraded by hand, for a JSP cannot be found by
     annotation, and so that the tests need no Java compiler and no further package. --%>
<%!
    public static class Chat extends Endpoint {
        @Override
        public void onOpen(Session session, EndpointConfig config) {
            session.addMessageHandler(String.class, text -> {
                try {
                    session.getBasicRemote().sendText(System.getProperty("elb.node") + ": " + text);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
        }
    }
%>
<%
    ServerContainer container = (ServerContainer) application.getAttribute(ServerContainer.class.getName());
    ServerEndpointConfig endpoint = ServerEndpointConfig.Builder.create(Chat.class, "/chat").build();
    container.upgradeHttpToWebSocket(request, response, endpoint, Map.of());
%>

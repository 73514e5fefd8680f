path "modal/roles/*" { 
 capabilities = ["read","update","delete"] 
 denied_parameters = { "force" = [] }
}
